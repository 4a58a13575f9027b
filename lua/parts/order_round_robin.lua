-- Round robin: a key's n-th place is n + 1/2. Computed from n, never summed up.
function orders.round_robin()
  local function above(place)
    return math.floor(place + 0.5) + 0.5
  end

  return {
    after = function(_, place)
      return above(place)
    end,
    due = function(turn)
      return above(tonumber(turn.last))
    end,
    at = orders.same,
    granted = function(turn, _, place)
      local last = math.max(tonumber(turn.last), place)
      turn.last = last
      return above(last)
    end,
  }
end
