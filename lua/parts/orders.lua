-- The strategies, each in a part of its own, made when it is asked for, with three functions,
--
--   due(turn, member)              the place of a member that begins, or whose moment has come
--   at(turn, member, of, place)    its true place, where a stored one may have grown old; never lower than that
--   granted(turn, member, place)   its next place after a grant at this one; raises `turn.last`
--
--
-- and, where keys take turns, after(member, place), its next place after another one.
--
-- A place is a score below rotation.PARKED, ties go by the order of the config. `turn.last` is the strategy's own text.
local orders = {}

function orders.same(_, _, _, place)
  return place
end
