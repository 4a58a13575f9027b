-- acquire: grant a key of the first target that has room now, or reserve the earliest room within the wait.
--
-- KEYS  1        state      HASH
--       2,3,4    rotation, its hash, its pool's wake set: of the first target; 5,6,7 of the second; ...
-- ARGV  now      "" or, in tests, microseconds
--       tried    count, then `target|key id` for each key that this request has tried (targets count from 0)
--       targets  for each: model, max_wait (microseconds), count of limit sets, then each set (parts/args.lua)
-- returns        {"granted", target, member, moment, wait, number}: send in `wait` microseconds, after a confirm if not 0
--                {"refused", wait}: no target has room in time; the earliest has in `wait`
--                {"exhausted"}: every key of every target was tried
--                {"missing", target}: not registered; nothing was changed for it
-- cost           granted at the head: 10 commands, whatever the number of keys, limits and targets behind it, and 4 more
--                once a day; refused with every key parked: 2 and 5 a target; 3 for each key that is met without room
--                (it is parked, and not met again); a reservation is a refusal and 3 more
--
-- A refusal changes no window, no number and no `last`. It may place and park members, as any other call would.
--@ use clock window_log cooldown order_round_robin rotation room args
local state = KEYS[1]
local now, clock_text = clock.read(state, args.text())

local tried = {}
for _, pair in ipairs(args.texts()) do
  tried[pair] = true
end

local function grant(target, turn, member, of, place, moment)
  room.enter(of, moment, now)
  room.write(state, of, clock_text)
  local number = rotation.granted(turn, member.text, place, room.free_at(of), now)
  local wait = string.format('%.0f', math.max(0, moment - now))
  return { 'granted', target, member.text, clock.text(moment), wait, string.format('%.0f', number) }
end

-- Walks one target from its head. Returns a granted reply, or its earliest candidate, or nothing if all were tried.
local function walk(target, turn, model, sets)
  local position = 0
  while true do
    local text, score = rotation.at(turn, position)
    if not text then
      return nil, nil
    end
    local member = rotation.read_member(text)
    if tried[target .. '|' .. member.id] then
      position = position + 1
    else
      local of = room.read(state, member, model, sets[member.limits + 1])
      local free = room.free_at(of)
      if free <= now then
        local place = score < rotation.PARKED and score or order.above(turn.last)
        return grant(target, turn, member, of, place, now), nil
      end
      if free ~= score then
        rotation.put(turn, text, free)
      end
      if score >= rotation.PARKED and free <= score then
        return nil, { turn = turn, target = target, member = member, of = of, moment = free }
      end
    end
  end
end

local earliest, soonest
for target = 0, (#KEYS - 1) / 3 - 1 do
  local first = 2 + 3 * target
  local names = { state = state, set = KEYS[first], hash = KEYS[first + 1], wake = KEYS[first + 2] }
  local model, max_wait, sets = args.text(), args.number(), {}
  for i = 1, args.number() do
    sets[i] = args.limits()
  end
  local turn = rotation.open(names)
  if not turn then
    return { 'missing', target }
  end
  rotation.ready(turn, now)
  local granted, candidate = walk(target, turn, model, sets)
  if granted then
    return granted
  end
  if candidate then
    if not earliest or candidate.moment < earliest then
      earliest = candidate.moment
    end
    if candidate.moment - now <= max_wait and (not soonest or candidate.moment < soonest.moment) then
      soonest = candidate
    end
  elseif turn.size > 0 and redis.call('EXISTS', names.set) == 0 then
    return { 'missing', target }
  end
end

if soonest then
  local turn = soonest.turn
  return grant(soonest.target, turn, soonest.member, soonest.of, order.above(turn.last), soonest.moment)
end
if earliest then
  return { 'refused', string.format('%.0f', earliest - now) }
end
return { 'exhausted' }
