"""On PYTHONPATH, makes every wait of a program short.

The Hub's library waits 23 s in all between five new attempts; no option shortens that.
"""

import time

sleep = time.sleep
time.sleep = lambda seconds: sleep(min(seconds, 0.01))
