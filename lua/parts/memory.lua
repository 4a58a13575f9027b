-- What Redis says of its own memory.
local memory = {}

-- {used, most, policy}: bytes, bytes (0: no bound), a maxmemory-policy; nil where it does not say, or may not be asked.
-- INFO, for CONFIG is closed where Redis is rented.
function memory.read()
  local told = redis.pcall('INFO', 'memory')
  if type(told) ~= 'string' then
    return nil
  end
  local used = string.match(told, 'used_memory:(%d+)')
  local most = string.match(told, 'maxmemory:(%d+)')
  return used and most and { used, most, string.match(told, 'maxmemory_policy:([%w-]+)') or '' }
end
