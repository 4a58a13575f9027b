-- cache_look: is there an answer to this request? If not, does who asks run for all that ask the same?
--
-- KEYS  1        entry      STRING  the answer
--       2        run        STRING  of the request that runs for all: `sent|` or, while it only waits for room, `waits|`, and its
--                                   token; `none`: nothing to keep came of it
-- ARGV  token    of who asks
--       oldest   milliseconds: an answer that is older is none to who asks
--       hold     milliseconds that a run counts without a sign of life
-- returns        {the answer, milliseconds that it still lives}; or `runs`: who asks does; `sent` or `waits`: another does,
--                ask again; `alone`: nothing will be kept, so go without
-- cost           2 commands, 1 more for the one that runs, and 1 more behind an answer that is too old
--
-- Where Redis takes no writes (it is full, or a replica) nobody runs for others, and each goes alone.
--@ use args run
local token, oldest, hold = args.text(), args.number(), args.text()
local found = redis.call('GET', KEYS[1])
if found then
  local left, ttl = redis.call('PTTL', KEYS[1]), string.match(found, '^2%[(%d+),')
  if not ttl or ttl - left <= oldest then
    return { found, left }
  end
end
local runs = redis.call('GET', KEYS[2])
if runs then
  return runs == 'none' and 'alone' or string.match(runs, '^%l+')
end
local taken = redis.pcall('SET', KEYS[2], run.text('sent', token), 'PX', hold)
return taken.err and 'alone' or 'runs'
