"""What all tests share."""

import signal

# A shell without job control starts what runs in the background with Ctrl-C ignored, and so would every program of a test.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
