"""Whether and when a policy's runs can start: schedule, quota, recipients, support."""
