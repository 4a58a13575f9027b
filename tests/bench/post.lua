-- wrk's side of the bench: posts one chat completion over and over and prints what came of it as one line of JSON.
--
-- arguments  body file, milliseconds to pause before each request (0: none)

local pause = 0

function init(arguments)
  local file = assert(io.open(arguments[1], "rb"))
  wrk.method = "POST"
  wrk.body = file:read("*a")
  file:close()
  wrk.headers["Content-Type"] = "application/json"
  wrk.headers["Authorization"] = "Bearer floor"
  pause = tonumber(arguments[2])
  -- wrk looks once whether a `delay` exists and then calls it for every request.
  if pause > 0 then
    function delay() return pause end
  end
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format('{"requests": %d, "seconds": %.6f, "median_ms": %.4f, "p99_ms": %.4f, "failed": %d}\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
    errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
