"""Stage 0: copies of a data set in which words are replaced by what a masked LM and GloVe propose."""
