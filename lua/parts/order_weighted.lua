-- Weighted: a key's n-th place is (2n + 1) / (2 * weight), so that 3 and 1 give `a a b a`. Computed from n, never summed.
function orders.weighted()
  local function above(place, text)
    local weight = tonumber(text)
    local n = math.floor(place * weight + 0.5)
    -- Places of other weights round: the next one of this weight may be one off.
    while n > 0 and (2 * n - 1) / (2 * weight) > place do
      n = n - 1
    end
    while (2 * n + 1) / (2 * weight) <= place do
      n = n + 1
    end
    return (2 * n + 1) / (2 * weight)
  end

  return {
    after = function(member, place)
      return above(place, member.weight)
    end,
    due = function(turn, member)
      return above(tonumber(turn.last), member.weight)
    end,
    at = orders.same,
    granted = function(turn, member, place)
      local last = math.max(tonumber(turn.last), place)
      turn.last = last
      return above(last, member.weight)
    end,
  }
end
