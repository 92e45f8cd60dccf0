"""The style of all pictures: they are readable on a light and on a dark background."""

# Each has a contrast of 3 or more against white, furo's black and GitHub's.
INK, GREY, FAULT = "#7d7d7d", "#8a8a8a", "#c9566b"
OURS = ("#0e93ad", "#3f8fd2")
OTHERS = ("#cc7722", "#a06cc9", "#5d9c4b", "#c9566b", "#8a8a8a")
STYLE = {
    "svg.hashsalt": "feedrace",
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
    "font.size": 9,
    "grid.color": INK,
    "grid.alpha": 0.25,
    "legend.frameon": False,
    "legend.labelcolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
}
