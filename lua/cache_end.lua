-- cache_end: the request that ran for all that ask the same is over, and has nothing to keep.
--
-- KEYS  1        run        STRING  as in cache_look
-- ARGV  token    of the request
--       none     milliseconds in which who asks the same goes alone; 0: its client went away, the next one may run
-- returns        1
-- cost           2 commands
--@ use args run
local token, none = args.text(), args.text()
run.over(KEYS[1], token, none)
return 1
