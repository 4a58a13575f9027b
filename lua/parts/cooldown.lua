-- A rest as a text: until and since (16 digits each), proved (1) or a suspicion (0), streak, request, reason.
--
-- The streak is written for what doubles a rest; nothing reads it yet.
local cooldown = {}

function cooldown.until_of(text)
  return text and tonumber(string.sub(text, 1, 16)) or 0
end

-- The four rests that bear on a key's grant for a model: of the key and of its account, whole and for the model.
function cooldown.fields(key, account, model)
  local of_key, of_account = 'c|key|' .. key, 'c|account|' .. account
  return of_key, of_key .. '|' .. model, of_account, of_account .. '|' .. model
end

local function parts(text)
  return string.match(text, '^(%d+)|(%d+)|(%d)|(%d+)|([^|]*)|(.*)$')
end

-- The text after a rest of `delay` more. A rest only ever moves later, and what was proved stays so while it lasts:
-- otherwise taking back a longer suspicion would end a rest that the provider named.
function cooldown.set(text, now, delay, proved, request, reason)
  local ends, since = now + delay, now
  if cooldown.until_of(text) > now then
    local old_ends, old_since, old_proved, _, old_request, old_reason = parts(text)
    since = tonumber(old_since)
    if old_proved == '1' then
      proved = '1'
    end
    if tonumber(old_ends) >= ends then
      ends, request, reason = tonumber(old_ends), old_request, old_reason
    end
  end
  return table.concat({ clock.text(ends), clock.text(since), proved, '0', request, reason }, '|')
end

-- Whether `request` may take this rest back: it set it, and nothing has proved it.
function cooldown.is_suspicion_of(text, request)
  local _, _, proved, _, owner = parts(text)
  return proved == '0' and owner == request
end
