-- advance: a reservation takes an earlier moment, where one has room since.
--
-- KEYS  1        state      HASH
--       2..      wake       ZSET  the wake set of each pool that has a key of the account
-- ARGV  as confirm
-- returns        {"not yet", wait, moment}: it counts at `moment`, `wait` microseconds ahead
--                {"calendar", now}: as acquire
-- cost           3 commands, moved 4 and 3 a pool
--
-- What a request came to is mostly less than what it was expected to, and clients go away: else what they leave would
-- go to whoever comes next, and never to who waits. It counts from then on; confirm says whether it may be sent.
--@ use clock numbers window_log window_calendar window_leases cooldown rotation room accounts args
local state = KEYS[1]
local now, clock_text, moved = clock.read(state, args.text())
local member = accounts.of(state, rotation.read_member(args.text()), moved)
local target, moment = { model = args.text(), line = '' }, args.number()
local _, _, share, amounts = args.text(), args.text(), args.number(), args.amounts()
local limits = args.limits()
target.pause, target.total = args.text(), args.total()

local of = room.read(state, member, target, limits, false)
if not args.knows(now) then
  return { 'calendar', clock.text(now) }
end
local at = moment
if now < moment then
  local ask = { amounts = amounts, probing = false, share = share }
  room.leave(of, moment, now, amounts, false)
  local own = room.free_for(of, (room.free_for_any(of, now, false)), ask)
  at = math.max(now + 1, room.free_in_pool(of, own, ask))
  if at < moment then
    room.enter(of, at, now, amounts)
    room.write(state, of, clock_text)
    rotation.wake({ unpack(KEYS, 2) }, accounts.names(state, member.account, member.told, moved), now)
  end
  at = math.min(at, moment)
end
return { 'not yet', string.format('%.0f', math.max(0, at - now)), clock.text(at) }
