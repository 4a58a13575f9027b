-- settle: a request is over: it counts what it came to instead of what was expected, and is in flight no more.
--
-- KEYS  1        state      HASH
--       2..      wake       ZSET  the wake set of each pool that has a key of the account
-- ARGV  now      "" or, in tests, microseconds
--       member, moment      the grant's, as acquire or confirm returned them
--       expected, actual, charged    three lists of amounts (parts/args.lua): what it entered, what it came to for the account
--                and its pool, and for the client: less where the request is sent again, whose next grant enters its tokens
--       limits, total, client   as acquire was told, with the member's own set of limits
-- returns        1 if keys of the account may have room earlier for it, else 0
-- cost           4 commands, and 3 a pool where the account had no room before it
--@ use clock numbers window_log window_calendar window_leases cooldown rotation room accounts args
local state = KEYS[1]
local now, clock_text, moved = clock.read(state, args.text())
local member, moment = accounts.of(state, rotation.read_member(args.text()), moved), args.number()
local expected, actual, charged = args.amounts(), args.amounts(), args.amounts()
local of = room.windows(state, member.account, args.limits(), args.total(), args.total())
local before = room.free_in_windows(of, now)
room.settle(of, moment, now, expected, actual, charged)
room.write(state, of, clock_text)
if before > now and room.free_in_windows(of, now) < before then
  rotation.wake({ unpack(KEYS, 2) }, accounts.names(state, member.account, member.told, moved), now)
  return 1
end
return 0
