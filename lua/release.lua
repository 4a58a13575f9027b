-- release: take back a grant that surely never reached the provider, so that its budget is free at once.
--
-- KEYS  1        state      HASH
--       2..      wake       ZSET  the wake set of each pool that has a key of the account
-- ARGV  now      "" or, in tests, microseconds
--       member, moment      the grant's, as acquire or confirm returned them
--       runs     as confirm
--       amounts, limits, total    as acquire was told of the target, with the member's own set of limits
-- returns        how many windows still held it; 0 once it has left them all
-- cost           4 commands and 3 a pool, whatever its size and its models
--
-- A grant that may have been sent is never released: the provider may have counted it. Its number and its turn stay used.
--@ use clock numbers window_log window_calendar window_leases cooldown rotation room accounts args
local state = KEYS[1]
local now, clock_text, moved = clock.read(state, args.text())
local member = accounts.of(state, rotation.read_member(args.text()), moved)
local moment, runs, amounts = args.number(), args.text() == '1', args.amounts()
local of = room.windows(state, member.account, args.limits(), args.total())
local held = room.leave(of, moment, now, amounts, runs)
if held > 0 then
  room.write(state, of, clock_text)
  rotation.wake({ unpack(KEYS, 2) }, accounts.names(state, member.account, member.told, moved), now)
end
return held
