"""The only room that knows Redis or Lua: model words in, model words out."""
