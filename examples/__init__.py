"""Example models with the data they train on; `ranvier new` copies the first of them."""
