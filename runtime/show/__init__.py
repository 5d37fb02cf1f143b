"""What a person can look at: each stage of a file's way to machine code as a table, a text or a picture."""
