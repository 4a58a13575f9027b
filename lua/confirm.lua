-- confirm: may this grant be sent now? Asked at the moment of a reservation, and before a send that is late.
--
-- KEYS  1        state      HASH
--       2..      wake       ZSET  the wake set of each pool that has a key of the account
-- ARGV  now      "" or, in tests, microseconds
--       member, model, moment    the grant's, as acquire returned it
--       runs     1: it is counted among the requests in flight, as a grant of now is and a reservation is not; else 0
--       finds    as acquire returned it
--       share    of the places in flight that it leaves to others, as acquire was told
--       amounts, limits, pause, door, total, client    as acquire was told, with the member's own set of limits
-- returns        {"confirmed", moment, age, finds}: it counts at `moment`, `age` microseconds ago
--                {"not yet", wait, moment, finds}: it counts at `moment`, which is `wait` microseconds ahead
--                {"withdrawn"}: the key rests, or it or the client has as many requests in flight as it may; the grant was
--                given back
--                {"calendar", now}: as acquire
-- cost           on time 3 commands, late or in flight from now on 4, put off or withdrawn 4 and 3 a pool
--
-- A rest that began since is in its way: while it lasts, unless it is what it let through as a probe; and once it is over,
-- if others have been let through less than a guard before, or will be.
--
-- Within the least guard of its windows a grant keeps its moment; a later one is taken out and entered now; its number
-- stays. Only what counts before it is asked, not the reservations behind it: each of those asks for itself when its
-- moment has come, and is put off by as much as what is before it came late. Were they asked, every late grant in front
-- of a queue would be lost, and its room with it.
--@ use clock numbers window_log window_calendar window_leases cooldown rotation room accounts args
local state = KEYS[1]
local now, clock_text, moved = clock.read(state, args.text())
local grant = args.grant()
local member, moment, amounts = accounts.of(state, rotation.read_member(grant.text), moved), grant.moment, grant.amounts
if now < moment then
  return { 'not yet', string.format('%.0f', moment - now), clock.text(moment), grant.finds }
end

local of = room.read(state, member, grant.target, grant.limits, false)
if not args.knows(now) then
  return { 'calendar', clock.text(now) }
end

local function wake()
  rotation.wake({ unpack(KEYS, 2) }, accounts.names(state, member.account, member.told, moved), now)
end

local before = { unpack(of.texts, 1, of.all) }
room.leave(of, moment, now, amounts, grant.runs)
if room.is_forbidden(of, now) or room.is_busy(of, now, grant.share) then
  room.write(state, of, clock_text)
  wake()
  return { 'withdrawn' }
end
local is_on_time = now - moment <= (room.guard(of) or math.huge) and room.is_let_through(of)
if is_on_time and room.free_before(of, moment, amounts) <= moment then
  of.texts = before
  room.run(state, of, moment, now, clock_text, grant.runs)
  return { 'confirmed', clock.text(moment), string.format('%.0f', now - moment), room.finds(of, moment) }
end

local at = room.let_through_at(of, room.free_before(of, now, amounts))
local finds = room.finds(of, at)
room.enter(of, at, now, amounts)
if at > now then
  wake() -- before it is written, and not behind: so who watches Redis tells it from what is withdrawn
end
room.write(state, of, clock_text)
if at > now then
  return { 'not yet', string.format('%.0f', at - now), clock.text(at), finds }
end
return { 'confirmed', clock.text(now), '0', finds }
