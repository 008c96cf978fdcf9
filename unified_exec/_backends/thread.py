from .base import Backend
class ThreadPool(Backend):
    pass
