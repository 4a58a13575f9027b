-- confirm: may this grant be sent now? Asked at the moment of a reservation, and before a send that is late.
--
-- KEYS  1        state      HASH
--       2..      wake       ZSET  the wake set of each pool that has a key of the account
-- ARGV  now      "" or, in tests, microseconds
--       member, model, moment    the grant's, as acquire returned it
--       runs     1: it is counted among the requests in flight, as a grant of now is and a reservation is not; else 0
--       finds    as acquire returned it: what is granted during a rest may be sent during it
--       share    of the places in flight that it leaves to others, as acquire was told
--       amounts, limits, pause, total    as acquire was told of the target, with the member's own set of limits
-- returns        {"confirmed", moment, age}: it counts at `moment`, `age` microseconds ago
--                {"not yet", wait, moment}: it counts at `moment`, which is `wait` microseconds ahead
--                {"withdrawn"}: the key rests, or has as many requests in flight as it may; the grant was given back
--                {"calendar", now}: as acquire
-- cost           on time 3 commands, late, put off or in flight from now on 4, withdrawn 4 and 3 a pool
--
-- Within the least guard of its windows a grant keeps its moment; a later one is taken out and entered now; its number
-- stays. Only what counts before it is asked, not the reservations behind it: each of those asks for itself when its
-- moment has come, and is put off by as much as what is before it came late. Were they asked, every late grant in front
-- of a queue would be lost, and its room with it.
--@ use clock numbers window_log window_calendar window_leases cooldown rotation room accounts args
local state = KEYS[1]
local now, clock_text, moved = clock.read(state, args.text())
local member = accounts.of(state, rotation.read_member(args.text()), moved)
local target, moment = { model = args.text(), line = '' }, args.number()
local runs, finds, share, amounts = args.text() == '1', args.text(), args.number(), args.amounts()
local limits = args.limits()
target.pause, target.total = args.text(), args.total()
if now < moment then
  return { 'not yet', string.format('%.0f', moment - now), clock.text(moment) }
end

local of = room.read(state, member, target, limits, false)
if not args.knows(now) then
  return { 'calendar', clock.text(now) }
end

local before = { unpack(of.texts, 1, of.all) }
room.leave(of, moment, now, amounts, runs)
if of.off or (finds ~= '2' and room.rests_until(of) > now) or room.is_busy(of, now, share) then
  room.write(state, of, clock_text)
  rotation.wake({ unpack(KEYS, 2) }, accounts.names(state, member.account, member.told, moved), now)
  return { 'withdrawn' }
end
if now - moment <= (room.guard(of) or math.huge) and room.free_before(of, moment, amounts) <= moment then
  of.texts = before
  room.run(state, of, moment, now, clock_text, runs)
  return { 'confirmed', clock.text(moment), string.format('%.0f', now - moment) }
end

local free = room.free_before(of, now, amounts)
room.enter(of, free, now, amounts)
room.write(state, of, clock_text)
if free > now then
  return { 'not yet', string.format('%.0f', free - now), clock.text(free) }
end
return { 'confirmed', clock.text(now), '0' }
