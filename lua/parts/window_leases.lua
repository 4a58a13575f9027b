-- Requests in flight as a text of 16-digit numbers: ascending pairs (end of the lease, moment of the grant).
--
-- Live requests renew their leases; one whose replica died ends by itself. The moment names a lease: where two of an
-- account have the same one, both are renewed together, and one of them is freed.
local function make_leases()
  local leases = { PAIR = 32 }

  local function number_at(text, i)
    return tonumber(string.sub(text, i, i + 15))
  end

  local function pair(ends, moment)
    return string.format('%016.0f%016.0f', ends, moment)
  end

  -- Where the first lease stands that ends after `t`.
  local function first_live(text, t)
    local i = 1
    while i <= #text and number_at(text, i) <= t do
      i = i + leases.PAIR
    end
    return i
  end

  -- When so many leases will have ended, unless they are renewed, that one more has a place.
  function leases.free_at(limit, text, t)
    local first = first_live(text, t)
    local over = (#text + 1 - first) / leases.PAIR + 1 - limit.max
    return over <= 0 and t or number_at(text, first + (over - 1) * leases.PAIR)
  end

  -- A reservation has no lease before its moment.
  function leases.enter(limit, text, moment, now)
    if moment > now then
      return text
    end
    return string.sub(text, first_live(text, now)) .. pair(now + limit.window, moment)
  end

  function leases.leave(_, text, moment)
    for i = 1, #text, leases.PAIR do
      if number_at(text, i + 16) == moment then
        return string.sub(text, 1, i - 1) .. string.sub(text, i + leases.PAIR), true
      end
    end
    return text, false
  end

  -- The text with every lease of this moment renewed; one that had ended runs again, for its request does.
  function leases.renew(limit, text, moment, now)
    local kept, count = '', 0
    for i = first_live(text, now), #text, leases.PAIR do
      if number_at(text, i + 16) == moment then
        count = count + 1
      else
        kept = kept .. string.sub(text, i, i + leases.PAIR - 1)
      end
    end
    return kept .. string.rep(pair(now + limit.window, moment), math.max(1, count))
  end

  return leases
end
