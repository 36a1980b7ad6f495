"""The trial of `mossa diff`: does it tell which planted skills a fine-tune lost, and is it quiet where none was?"""
