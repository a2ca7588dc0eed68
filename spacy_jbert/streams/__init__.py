"""Lines that go on coming, and what is told of them: each thing once, whenever the process dies."""
