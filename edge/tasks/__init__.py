"""What every door does with a task: take it in, wait for it, read it, cancel it. No wire format here."""
