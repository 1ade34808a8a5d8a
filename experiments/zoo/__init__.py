"""The zoo: everything that is done with a network, done with a hundred of all kinds."""
