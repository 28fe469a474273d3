"""Few rows that stand for many: which of a matrix of features to keep, and how well what is kept stands for all.

``greedy`` finds the rows that the others do not show (log-det), ``rivals`` what else is in use, ``stream`` keeps a
running few, ``transport`` measures. Rows are anything that has features: hops of a log, windows, tokens.
"""
