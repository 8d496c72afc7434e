// Entry points of the commands, one a file of launcher/cli/. Each takes its own name as argv[0],
// prints its result on stdout and everything for people on stderr, and returns a code of
// exit_codes.h.
#pragma once

namespace trireme {

int RunBench(int argc, char** argv);
int RunAudit(int argc, char** argv);
int RunChat(int argc, char** argv);
int RunCoordinator(int argc, char** argv);
int RunDetokenize(int argc, char** argv);
int RunGenerate(int argc, char** argv);
int RunKeys(int argc, char** argv);
int RunPerplexity(int argc, char** argv);
int RunPlan(int argc, char** argv);
int RunRender(int argc, char** argv);
int RunShard(int argc, char** argv);
int RunServe(int argc, char** argv);
int RunStatus(int argc, char** argv);
int RunTokenize(int argc, char** argv);
int RunWorker(int argc, char** argv);
int RunVerify(int argc, char** argv);

}  // namespace trireme
