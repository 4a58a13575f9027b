"""What providers are and say: functions over paths, statuses, headers and bytes, without a socket."""
