-- Least used: the key with the fewest grants today (UTC), in all rotations together. The state counts them; a stored place
-- is true or too low, for counts only grow, until `rotation.ready` begins a new day with places of 0.
function orders.least_used()
  return {
    counts = true,
    due = function()
      return 0
    end,
    at = function(_, _, of)
      return of.granted
    end,
    granted = function(_, _, place)
      return place + 1
    end,
  }
end
