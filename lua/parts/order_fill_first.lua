-- Fill first: the order of the config, always, so that one key is used until it has no room (and keeps its prompt caches).
local function own(_, member)
  return member.order
end

orders.fill_first = { due = own, at = orders.same, granted = own }
