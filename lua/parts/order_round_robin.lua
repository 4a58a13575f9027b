-- Round robin: a key's n-th place is n + 1/2, ties go by the order of the config. Computed from n, never summed up.
local order = {}

-- A key's first place above `place`.
function order.above(place)
  return math.floor(place + 0.5) + 0.5
end
