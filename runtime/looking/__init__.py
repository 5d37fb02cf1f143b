"""What a person wants to know of data before there is a model: facts of every column, what each is for, and a file to begin with."""
