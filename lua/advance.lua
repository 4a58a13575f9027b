-- advance: a reservation takes an earlier moment, where one has room since.
--
-- KEYS  1        state      HASH
--       2..      wake       ZSET  the wake set of each pool that has a key of the account
-- ARGV  as confirm, but
--       runs     1: it only tells; else 0
-- returns        {"not yet", wait, moment, finds}: it counts at `moment`, `wait` microseconds ahead
--                {"calendar", now}: as acquire
-- cost           3 commands, moved 4 and 3 a pool
--
-- What a request came to is mostly less than what it was expected to, rests end early and clients go away: else what they
-- leave would go to whoever comes next, and never to who waits. It counts from then on; confirm says whether it may be
-- sent.
--@ use clock numbers window_log window_calendar window_leases cooldown rotation room accounts args
local state = KEYS[1]
local now, clock_text, moved = clock.read(state, args.text())
local grant = args.grant()
local member, moment, amounts = accounts.of(state, rotation.read_member(grant.text), moved), grant.moment, grant.amounts

local of = room.read(state, member, grant.target, grant.limits, false)
if not args.knows(now) then
  return { 'calendar', clock.text(now) }
end
local at, finds = moment, grant.finds
if now < moment then
  local ask = { amounts = amounts, probing = false, share = grant.share }
  room.leave(of, moment, now, amounts, false)
  local own = room.free_for(of, (room.free_for_any(of, now, false)), ask)
  at = math.max(now + 1, room.free_in_pool(of, own, ask))
  if at < moment and not grant.runs then
    finds = room.finds(of, at)
    room.enter(of, at, now, amounts)
    room.write(state, of, clock_text)
    rotation.wake({ unpack(KEYS, 2) }, accounts.names(state, member.account, member.told, moved), now)
  end
  at = math.min(at, moment)
end
return { 'not yet', string.format('%.0f', math.max(0, at - now)), clock.text(at), finds }
