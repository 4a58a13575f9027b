-- release: take back a grant that surely never reached the provider, so that its budget is free at once.
--
-- KEYS  1        state      HASH
--       2..      wake       ZSET  the wake set of each pool that has a key of the account
-- ARGV  now      "" or, in tests, microseconds
--       member, moment      the grant's, as acquire or confirm returned them
--       limits   the member's set (parts/args.lua)
-- returns        how many windows still held it; 0 once it has left them all
-- cost           4 commands and 3 a pool, whatever its size and its models
--
-- A grant that may have been sent is never released: the provider may have counted it. Its number and its turn stay used.
--@ use clock window_log cooldown order_round_robin rotation room args
local state = KEYS[1]
local now, clock_text = clock.read(state, args.text())
local member, moment, limits = rotation.read_member(args.text()), args.number(), args.limits()
local of = room.read(state, member, '', limits)
local held = room.leave(of, moment, now)
if held > 0 then
  room.write(state, of, clock_text)
  rotation.wake({ unpack(KEYS, 2) }, member.account, now)
end
return held
