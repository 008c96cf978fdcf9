"""Clause 4: one error story."""

from __future__ import annotations

from tests.mutants.mutant import Clause

STORY = "test_4_one_error_story.py"
ERRORS = "test_4_errors_of_processes.py"
VALUES = "test_4_values.py"
FAULTS = "test_4_fault_matrix.py"
END_A_PROGRAM = f"{STORY}::test_what_would_end_a_program_arrives_as_a_remote_error"

clause_4 = Clause(4)

ERROR_STORY = (
    clause_4.loop(
        breaks="a coroutine's own exception arrives",
        file="_scope/coroutine.py",
        old="    except Exception as exc:\n        handle.settle(Outcome(error=exc))",
        new="    except Exception as exc:\n        handle.settle(Outcome(error=type(exc)(*exc.args)))",
        tests=(f"{STORY}::test_cause_context_and_notes_arrive",),
        only="-loop and not trio and not uvloop and not eager",
    ),
    clause_4.thread(
        breaks="the traceback shows the frames of a thread task",
        file="_pools/thread/call.py",
        old="_without_own_frames(_traceback_of(exc))",
        new="None",
        tests=(f"{STORY}::test_the_traceback_shows_the_frames_of_the_task_with_their_source",),
    ),
    clause_4.thread(
        breaks="what would end the program arrives as a RemoteError from a thread",
        file="_pools/thread/call.py",
        old="        return Outcome(error=as_outcome_error(exc))",
        new="        return Outcome(error=exc)",
        tests=(END_A_PROGRAM,),
    ),
    clause_4.process(
        breaks="what would end the program arrives as a RemoteError from a process",
        file="_pools/process/decode_result.py",
        old="error=as_outcome_error(decode_error(bytes(data)))",
        new="error=decode_error(bytes(data))",
        tests=(END_A_PROGRAM,),
    ),
    clause_4.process(
        breaks="what would end the program does not end the worker",
        file="_worker/run_calls.py",
        old="            except BaseException as exc:\n                error = exc\n                signal.running = 0",
        new=(
            "            except BaseException as exc:\n                if not isinstance(exc, Exception):\n"
            "                    __import__('os')._exit(1)\n"
            "                error = exc\n                signal.running = 0"
        ),
        tests=(END_A_PROGRAM,),
    ),
    clause_4.process_coroutine(
        breaks="what would end the program does not end a worker with coroutines",
        file="_worker/run_coroutines.py",
        old="            except BaseException as exc:\n                error = exc",
        new="            except Exception as exc:\n                error = exc",
        tests=(END_A_PROGRAM,),
        only="coroutine and not trio and not uvloop and not eager",
    ),
    clause_4.process(
        breaks="the context of an exception arrives",
        file="_wire/errors/encode.py",
        old='self.number(_slot["__context__"](exc))',
        new="None",
        tests=(f"{STORY}::test_cause_context_and_notes_arrive",),
    ),
    clause_4.process(
        breaks="the cause of an exception arrives",
        file="_wire/errors/encode.py",
        old='self.number(_slot["__cause__"](exc))',
        new="None",
        tests=(f"{STORY}::test_cause_context_and_notes_arrive",),
    ),
    clause_4.process(
        breaks="the attributes of an exception arrive",
        file="_wire/errors/encode.py",
        old='dict(_slot["__dict__"](exc))',
        new="{}",
        tests=(f"{STORY}::test_an_exception_arrives_with_its_type_arguments_and_attributes",),
    ),
    clause_4.process(
        breaks="the traceback shows the worker's own frames",
        file="_wire/errors/encode.py",
        old='frames = tracebacks.frames_of(_slot["__traceback__"](exc), skip)',
        new="frames = ()",
        tests=(f"{STORY}::test_the_traceback_shows_the_frames_of_the_task_with_their_source",),
    ),
    clause_4.process(
        breaks="what the parent sent by value comes back as the parent's own object",
        file="_wire/pickling/identity.py",
        old="    obj = living(token)\n    if obj is None:",
        new="    obj = None\n    if obj is None:",
        tests=(f"{STORY}::test_an_exception_of_a_class_in_a_function_body_is_caught_by_that_class",),
    ),
    clause_4.process(
        breaks="what cannot be rebuilt arrives as a RemoteError",
        file="_wire/errors/decode.py",
        old="            except BaseException:  # whatever a __reduce__ of the user's does",
        new="            except ZeroDivisionError:",
        tests=(f"{ERRORS}::test_an_exception_that_cannot_travel_arrives_as_a_remote_error",),
    ),
    clause_4.process(
        breaks="arguments are pickled inside of spawn",
        file="_pools/process/lane.py",
        old="        call = self._encode(fn, task.args)  # type: ignore[arg-type]  # both are there until settled",
        new="        try:\n            call = self._encode(fn, task.args)\n"
        "        except Exception as exc:\n"
        "            from ..._tasks.types import Outcome\n\n            task.settle(Outcome(error=exc))\n"
        "            return",
        tests=(f"{STORY}::test_an_argument_that_cannot_travel_is_an_error_of_spawn_before_a_worker_is_touched",),
    ),
    clause_4.process(
        breaks="a result that cannot travel is an error of its task",
        file="_worker/send_result.py",
        old="        except BaseException as exc:  # also what a __reduce__ of the user's raises to end the program",
        new="        except ZeroDivisionError as exc:",
        tests=(
            f"{VALUES}::test_a_result_that_cannot_travel_is_an_error_that_names_the_task",
            f"{FAULTS}::test_a_fault_while_the_result_is_pickled_costs_one_task",
        ),
    ),
    clause_4.thread(
        breaks="an exception that forbids to set attributes ends its thread task",
        file="_pools/thread/call.py",
        old="BaseException.with_traceback(exc, _without_own_frames(_traceback_of(exc)))",
        new="exc.__traceback__ = _without_own_frames(exc.__traceback__)",
        tests=("faults/test_hostile_errors.py::test_an_exception_that_forbids_to_set_attributes_arrives",),
        only="thread",
    ),
    clause_4.process(
        breaks="a result whose rebuilding raises an error without text ends its task",
        file="_pools/process/decode_result.py",
        old="rebuilding it here raised {type(raised).__name__}: {text_of(raised)}",
        new="rebuilding it here raised {type(raised).__name__}: {raised}",
        tests=("faults/test_hostile_errors.py::test_a_result_whose_rebuilding_raises_an_error_without_text",),
    ),
)
