-- Requests in flight as ascending pairs (end of the lease, moment of the grant).
--
-- Live requests renew their leases; one whose replica died ends by itself. The moment names a lease: where two of an
-- account have the same one, both are renewed together, and one of them is freed. Of those that have ended the last is
-- kept: it tells when a place was last given back.
local function make_leases()
  local leases = {}

  -- Where the first lease stands that ends after `t`.
  local function first_live(text, t)
    local i = 1
    while i <= #text and number_at(text, i) <= t do
      i = i + PAIR
    end
    return i
  end

  -- When so many leases will have ended, unless they are renewed, that `need` more have a place.
  function leases.free_at(limit, text, t, need)
    local first = first_live(text, t)
    local over = (#text + 1 - first) / PAIR + need - limit.max
    return over <= 0 and t or number_at(text, first + (over - 1) * PAIR)
  end

  -- When a place was last given back; 0: nobody knows.
  function leases.freed_at(text, now)
    local first = first_live(text, now)
    return first > 1 and number_at(text, first - PAIR) or 0
  end

  -- A reservation has no lease before its moment.
  function leases.enter(limit, text, moment, now)
    if moment > now then
      return text
    end
    local kept = string.sub(text, math.max(1, first_live(text, now) - PAIR))
    return kept .. digits(now + limit.window) .. digits(moment)
  end

  -- The text with a lease of this moment ended, and whether one ran.
  function leases.leave(_, text, moment, now)
    local first = first_live(text, now)
    for i = first, #text, PAIR do
      if number_at(text, i + 16) == moment then
        return digits(now) .. digits(moment) .. string.sub(text, first, i - 1) .. string.sub(text, i + PAIR), true
      end
    end
    return text, false
  end

  -- The text with every lease of this moment renewed; one that had ended runs again, for its request does.
  function leases.renew(limit, text, moment, now)
    local first, count = first_live(text, now), 0
    local kept = string.sub(text, math.max(1, first - PAIR), first - 1)
    for i = first, #text, PAIR do
      if number_at(text, i + 16) == moment then
        count = count + 1
      else
        kept = kept .. string.sub(text, i, i + PAIR - 1)
      end
    end
    return kept .. string.rep(digits(now + limit.window) .. digits(moment), math.max(1, count))
  end

  return leases
end
