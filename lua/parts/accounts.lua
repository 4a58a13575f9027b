-- What an account is called now that replicas with a changed config call it otherwise.
--
-- Replicas take up a change one after the other, and requests end as they began: until KEEP after the change (`moved` of
-- the state, written by adopt) a name that nobody should have any more stands for the new one, `as|OLD` of the state.
local accounts = { KEEP = 86400e6 }

-- `moved` as clock.read returned it: whether there is anything to look up, as there hardly ever is.
function accounts.called(state, account, moved)
  return moved and redis.call('HGET', state, 'as|' .. account) or account
end

-- The field of a rest of this account, which the caller calls `told`; a key's own rests are named after its secret.
function accounts.rest(field, told, account)
  local of_told = 'c|account|' .. told
  if account == told or (field ~= of_told and string.sub(field, 1, #of_told + 1) ~= of_told .. '|') then
    return field
  end
  return 'c|account|' .. account .. string.sub(field, #of_told + 1)
end

-- All names by which rotations may know an account, that of the caller among them; `sa|NEW` of the state has the old ones.
function accounts.names(state, account, told, moved)
  local names = { account }
  if told ~= account then
    names[2] = told
  end
  for name in string.gmatch(moved and redis.call('HGET', state, 'sa|' .. account) or '', '[^\n]+') do
    if name ~= told then
      names[#names + 1] = name
    end
  end
  return names
end

-- A member with its account's name of now. `told` stays what its rotation calls it.
function accounts.of(state, member, moved)
  member.told = member.account
  member.account = accounts.called(state, member.account, moved)
  return member
end
