"""What is said on the bus: frozen messages, ids, money and the error tree. No I/O and no clock."""
