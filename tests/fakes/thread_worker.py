"""A worker for tests of what is done with workers."""

from concurrent.futures import ThreadPoolExecutor


class ThreadWorker:
    """A worker that is a thread of this process: fast to start, and it dies only by raising."""

    def __init__(self, name):
        self.name, self.device, self.deaths = name, None, 0
        self._executor = ThreadPoolExecutor(1)

    def available(self):
        return True

    def submit(self, function, *arguments):
        return self._executor.submit(function, *arguments)

    def died(self, error):
        return "it died" if isinstance(error, SystemExit) else None

    def restart(self):
        self.deaths += 1

    def close(self):
        self._executor.shutdown(wait=True, cancel_futures=True)
