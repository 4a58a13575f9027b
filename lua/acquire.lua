-- acquire: grant a key of the first target that has room now, or reserve the earliest room within the wait.
--
-- KEYS  1        state      HASH
--       2,3,4    rotation, its hash, its pool's wake set: of the first target; 5,6,7 of the second; ...
-- ARGV  now      "" or, in tests, microseconds
--       amounts  what the request counts in each unit (parts/args.lua)
--       probing  1: a prober's call, which dead keys may be granted; else 0
--       ticket   by which it stands in the line of those who wait for a place in flight, as it was told; 0: it does not
--       waited   microseconds, since it came
--       tried    count, then `target|key id` for each key that this request has tried (targets count from 0)
--       client   what the client as a whole may spend (parts/args.lua: a total)
--       targets  for each: model, strategy, max_wait (microseconds), share of each budget that it leaves to others, field of
--                that line ("": the pool counts none in flight), field of the pool's own rest, of its provider's, the
--                pool's total, count of limit sets, then each set
-- returns        {"granted", target, member, moment, wait, number, finds}: send in `wait` microseconds, after a confirm if
--                not 0; `finds` 1 or 2: a success is to be reported, for the key rested, or (2) rests still
--                {"refused", wait, ticket, client}: no target has room in time; the earliest has in `wait`; ticket not 0: or
--                sooner, when a request in flight ends, and who may wait stands in line for it by this ticket; client 1: it
--                is the client's own limits that have none
--                {"exhausted"}: no key of any target is left that was not tried, is not disabled, and may ever have room
--                {"missing", target}: not registered; nothing was changed for it
--                {"calendar", now}: the boundaries of a calendar are not those of the time around now; nothing was changed
-- cost           granted at the head: 10 commands, whatever the number of keys, limits and targets behind it, and 4 more
--                once a day; refused with every key parked: 2 and 5 a target; 3 for each key that is met without room
--                (it is parked, and not met again), but of one account for two of them, and 3 more for all others; 2 for
--                each that has some room, but not for this request, at most 64 a target; a reservation is a refusal and 4
--                more, and where keys have room at one moment 2 and 2 for each that it looks at; 2 for each key that waits
--                for a request in flight to end, and 2 for who stands in line or leaves it
--
-- A refusal changes no window, no number and no `last`. It may place and park members, as any other call would, and who
-- waits for a place takes theirs in the line (parts/line.lua). A reservation needs no line: its moment is its place.
--@ use clock numbers window_log window_calendar window_leases cooldown room line accounts args
--@ use orders order_round_robin order_weighted order_least_used order_priority order_fill_first rotation
local state = KEYS[1]
local now, clock_text, moved = clock.read(state, args.text())
local amounts, probing = args.amounts(), args.text() == '1'
local ticket, came, tried = args.number(), now - args.number(), nil
came = ticket > 0 and ticket or came
for _, pair in ipairs(args.texts()) do
  tried = tried or {}
  tried[pair] = true
end
local client = args.total()

local targets, last = {}, (#KEYS - 1) / 3 - 1
for target = 0, last do
  local first = 2 + 3 * target
  local of = {
    names = { state = state, set = KEYS[first], hash = KEYS[first + 1], wake = KEYS[first + 2] },
    model = args.text(),
    strategy = orders[args.text()](),
    max_wait = args.number(),
    share = args.number(),
    line = args.text(),
    pause = args.text(),
    door = args.text(),
    total = args.total(),
    client = client,
    sets = {},
  }
  for i = 1, args.number() do
    of.sets[i] = args.limits()
  end
  of.ask = { amounts = amounts, probing = probing, share = of.share }
  targets[target] = of
end

local function grant(at, turn, member, of, place, moment)
  local more, finds = {}, room.finds(of, moment)
  room.enter(of, moment, now, amounts)
  if of.count_field then
    more[#more + 1], more[#more + 2] = of.count_field, room.one_more(of, now)
  end
  room.write(state, of, clock_text, more)
  local free, busy = room.free_for_any(of, now, probing)
  local number = rotation.granted(turn, member, place, free, busy, now)
  local wait = moment > now and string.format('%.0f', moment - now) or '0'
  return { 'granted', at, member.text, clock.text(moment), wait, number, finds }
end

-- Walks one target from its head. Returns a granted reply, or its earliest candidate, or nothing if no key is left.
local function walk(at, target, turn)
  local position, best, passed, corrected = '0', nil, 0, 0 -- a text spares Redis writing one
  local met = {} -- the accounts of keys that were met without room
  local ask = target.ask
  while true do
    local text, score = rotation.at(turn, position)
    local parked = text and score >= rotation.PARKED
    if not text or passed == rotation.MOST_PASSED or (parked and best and score >= best.moment) then
      return nil, best
    end
    local member = accounts.of(state, rotation.read_member(text), moved)
    if tried and tried[at .. '|' .. member.id] then
      position = position + 1
    else
      local limits, counts = target.sets[member.limits + 1], turn.strategy.counts
      local of = room.read(state, member, target, limits, counts)
      of.granted = counts and room.count(of, now)
      local place = turn.strategy.at(turn, member, of, parked and turn.strategy.due(turn, member) or score)
      local known = parked or place == score or corrected == rotation.MOST_PASSED
      local free, busy = room.free_for_any(of, now, probing)
      if free > now and free ~= score then
        rotation.park(turn, member, free, busy, now)
        local whole, places = now, 0
        if met[member.account] then
          whole, places = room.free_in_account(of, now, probing)
        end
        if whole > now then
          rotation.park_account(turn, member.account, whole, places, now, function(id)
            return tried and tried[at .. '|' .. id] -- it is stepped over where it is
          end)
        end
        met[member.account] = true
      elseif free <= now and not known then
        rotation.put(turn, text, place)
        corrected = corrected + 1
      end
      if free >= cooldown.NEVER and score >= free then
        return nil, best
      elseif (free > now and parked and free <= score) or (free <= now and known) then
        local own, held = room.free_for(of, free, ask)
        local crowded = room.crowded_until(of, now)
        local moment = math.max(room.free_in_pool(of, own, ask), crowded)
        local has_room = moment <= now
        if has_room and (of.line == '' or not line.has_earlier(of.line, came, room.freed_at(of, now), now)) then
          return grant(at, turn, member, of, place, now), nil
        end
        passed = passed + (moment < cooldown.NEVER and 1 or 0)
        if moment < cooldown.NEVER and (not best or moment < best.moment) then
          busy = has_room and cooldown.NEVER or math.max(busy, held, crowded)
          best = { turn = turn, at = at, member = member, of = of, moment = moment, place = place, busy = busy }
          best.crowded = crowded > now
          best.coming_at = parked and (turn.strategy.after or counts) and score
        end
        -- Keys behind this one have room no earlier, and their pool and the client are the same.
        if not has_room and moment == math.max(room.free_of_pool(of, free, ask), crowded) then
          return nil, best
        end
        position = position + 1
      end
    end
  end
end

-- Of keys that have room at one moment, the one whose turn it is.
local function whose_turn(candidate)
  local at, turn, target = candidate.at, candidate.turn, targets[candidate.at]
  local ask = target.ask
  for _, coming in ipairs(candidate.coming_at and rotation.coming(turn, candidate.coming_at, now) or {}) do
    local told, place = coming[1], coming[2]
    if told.text == candidate.member.text then
      candidate.place = place
      return candidate
    end
    if not (tried and tried[at .. '|' .. told.id]) then
      local member = accounts.of(state, told, moved)
      local of = room.read(state, member, target, target.sets[member.limits + 1], turn.strategy.counts)
      local free, busy = room.free_for_any(of, now, probing)
      local own, held = room.free_for(of, free, ask)
      if math.max(busy, held) <= now and room.free_in_pool(of, own, ask) == candidate.moment then
        return { turn = turn, at = at, member = member, of = of, moment = candidate.moment, place = place }
      end
    end
  end
  return candidate
end

if not args.knows(now) then
  return { 'calendar', clock.text(now) }
end

-- Stands in these lines, and in no other of its targets'.
local function stand(waits)
  local fields, known, written = {}, {}, { 'clock', clock_text }
  for at = 0, last do
    local field = targets[at].line
    if field ~= '' and not known[field] then
      fields[#fields + 1], known[field] = field, true
    end
  end
  if #fields == 0 then
    return
  end
  local texts = redis.call('HMGET', state, unpack(fields))
  ticket = ticket > 0 and ticket or line.free(texts, came)
  for i, field in ipairs(fields) do
    written[#written + 1], written[#written + 2] = field, line.with(texts[i] or '', ticket, waits[field], now)
  end
  redis.call('HSET', state, unpack(written))
end

-- The reply, and the lines in which it is to stand; none where a rotation is missing, for then it asks again.
local function choose()
  local earliest, soonest, busy, waits = nil, nil, false, {}
  for at = 0, last do
    local target = targets[at]
    local turn = rotation.open(target.names, target.strategy)
    if not turn then
      return { 'missing', at }
    end
    rotation.ready(turn, now)
    local granted, candidate = walk(at, target, turn)
    if granted then
      return granted, {}
    end
    local is_busy = rotation.is_busy(turn, now) or (candidate and candidate.busy > now)
    busy = busy or is_busy
    if is_busy and target.max_wait > 0 and not (candidate and candidate.crowded) then -- whom no place of a key's helps
      waits[target.line] = true
    end
    if candidate then
      local moment = candidate.moment
      earliest = (not earliest or moment < earliest.moment) and candidate or earliest
      if candidate.busy <= now and moment - now <= target.max_wait and (not soonest or moment < soonest.moment) then
        soonest = candidate
      end
    elseif not rotation.exists(turn) then
      return { 'missing', at }
    end
  end
  if soonest then
    soonest = whose_turn(soonest)
    return grant(soonest.at, soonest.turn, soonest.member, soonest.of, soonest.place, soonest.moment), {}
  end
  if earliest then
    local by_client = earliest.crowded or room.free_of_client(earliest.of, now, targets[earliest.at].ask) > now
    return { 'refused', string.format('%.0f', earliest.moment - now), busy, by_client and 1 or 0 }, waits
  end
  return { 'exhausted' }, {}
end

local reply, waits = choose()
if waits and (ticket > 0 or next(waits)) then
  stand(waits)
end
if reply[1] == 'refused' then
  reply[3] = reply[3] and clock.text(ticket > 0 and ticket or came) or '0'
end
return reply
