-- The request that runs for all that ask the same: `sent|TOKEN`, `waits|TOKEN` while it only waits for room, or `none`.
local run = {}

function run.text(state, token)
  return state .. '|' .. token
end

-- Whether that is the text of this token's run.
function run.is(text, token)
  return text == run.text('sent', token) or text == run.text('waits', token)
end

-- `none`: milliseconds in which nobody waits for another, since nothing to keep comes of it; 0: the next may run.
function run.over(key, token, none)
  if not run.is(redis.call('GET', key), token) then
    return
  end
  -- Where Redis takes no writes it still forgets.
  if none == '0' or redis.pcall('SET', key, 'none', 'PX', none).err then
    redis.call('DEL', key)
  end
end
