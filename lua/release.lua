-- release: take back a grant that surely never reached the provider, so that its budget is free at once.
--
-- KEYS  1        state      HASH
--       2..      wake       ZSET  the wake set of each pool that has a key of the account
-- ARGV  as confirm
-- returns        how many windows and rests still held it; 0 once it has left them all
-- cost           4 commands and 3 a pool, whatever its size and its models
--
-- A grant that may have been sent is never released: the provider may have counted it. Its number and its turn stay used.
--@ use clock numbers window_log window_calendar window_leases cooldown rotation room accounts args
local state = KEYS[1]
local now, clock_text, moved = clock.read(state, args.text())
local grant = args.grant()
local member = accounts.of(state, rotation.read_member(grant.text), moved)
local of = room.read(state, member, grant.target, grant.limits, false)
local held = room.leave(of, grant.moment, now, grant.amounts, grant.runs)
if held > 0 then
  room.write(state, of, clock_text)
  rotation.wake({ unpack(KEYS, 2) }, accounts.names(state, member.account, member.told, moved), now)
end
return held
