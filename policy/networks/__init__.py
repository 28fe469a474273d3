"""Networks: actor, encoders, student, the distributions that they speak in, and the file that they are kept in."""
