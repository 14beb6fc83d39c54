"""Pure decisions: no client, no clock; `now` is passed in."""
