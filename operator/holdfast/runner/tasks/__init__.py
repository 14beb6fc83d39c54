"""One module a Task: what a Job does from its first step to its Result."""
