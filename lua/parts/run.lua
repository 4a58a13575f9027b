-- The request that runs for all that ask the same, as it ends.
local run = {}

-- `none`: milliseconds in which nobody waits for another, since nothing to keep comes of it; 0: the next may run.
function run.over(key, token, none)
  if redis.call('GET', key) ~= token then
    return
  end
  -- Where Redis takes no writes it still forgets.
  if none == '0' or redis.pcall('SET', key, 'none', 'PX', none).err then
    redis.call('DEL', key)
  end
end
