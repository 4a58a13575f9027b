-- Fill first: the order of the config, always, so that one key is used until it has no room (and keeps its prompt caches).
function orders.fill_first()
  local function own(_, member)
    return tonumber(member.order)
  end

  return { due = own, at = orders.same, granted = own }
end
