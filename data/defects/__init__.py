"""Pseudo-defects: what is drawn on good images, by family and difficulty."""

import cv2

# On crops its threads cost more than they bring, and a forked worker would wait for threads that it does not have.
cv2.setNumThreads(1)
