"""Keys as callers use them: no HTTP, no dialect."""
