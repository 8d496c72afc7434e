#include "launcher/supervisor/loss_report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "launcher/exit_codes.h"

namespace trireme {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

// Lines as Open MPI 4.1 prints them.
std::string CauseOf(std::initializer_list<const char*> lines, const ProcessEnd& end) {
  LossReport report;
  for (const char* line : lines) report.AddLine(line);
  return report.Cause(end);
}

TEST(LossReportTest, NamesTheRankThatASignalEnded) {
  EXPECT_EQ(
      CauseOf(
          {"--------------------------------------------------------------------------",
           "Primary job  terminated normally, but 1 process returned",
           "a non-zero exit code. Per user-direction, the job has been aborted.",
           "--------------------------------------------------------------------------",
           "mpirun noticed that process rank 1 with PID 0 on node vm exited on signal 9 (Killed).",
           "--------------------------------------------------------------------------"},
          {.exit_code = 137, .signal = 0}),
      "rank 1 on vm was ended by signal 9 (Killed)");
}

TEST(LossReportTest, NamesTheRankThatEndedWithACode) {
  EXPECT_THAT(
      CauseOf(
          {"mpirun detected that one or more processes exited with non-zero status, thus causing",
           "the job to be terminated. The first process to do so was:", "",
           "  Process name: [[12945,1],3]", "  Exit code:    65", "-----"},
          {.exit_code = kExitRankLost, .signal = 0}),
      AllOf(HasSubstr("rank 3 ended with exit code 65"), HasSubstr("stopped")));
}

TEST(LossReportTest, NamesTheRankThatLeftEarly) {
  EXPECT_THAT(CauseOf({"mpirun has exited due to process rank 2 with PID 0 on",
                       "node h2 exiting improperly. There are three reasons this could occur:"},
                      {.exit_code = 1, .signal = 0}),
              HasSubstr("rank 2 on h2 ended early"));
}

TEST(LossReportTest, QuotesTheRanksOwnErrorsOldestForgotten) {
  const std::string cause =
      CauseOf({"I 12:03:55.120 rank=0 all is well", "E 12:03:55.121 rank=0 first",
               "E 12:03:55.122 rank=0 second", "E 12:03:55.123 rank=1 third",
               "E 12:03:55.124 rank=1 fourth", "Every line that begins with E is no error"},
              {.exit_code = kExitRankLost, .signal = 0});
  EXPECT_THAT(cause,
              AllOf(HasSubstr("rank=0 second"), HasSubstr("rank=1 fourth"), Not(HasSubstr("first")),
                    Not(HasSubstr("well")), Not(HasSubstr("no error"))));
}

TEST(LossReportTest, SaysWhatTheExitCodeMeansWhenNobodySpoke) {
  EXPECT_THAT(CauseOf({}, {.exit_code = kExitStartRefused, .signal = 0}),
              HasSubstr("refused to start"));
  EXPECT_THAT(CauseOf({}, {.exit_code = 137, .signal = 9}),
              HasSubstr("mpirun was ended by signal 9"));
  EXPECT_EQ(CauseOf({}, {.exit_code = 3, .signal = 0}), "exit code 3");
}

TEST(LossReportTest, LongAndStrangeOutputIsHarmless) {
  LossReport report;
  report.AddLine("mpirun noticed that process rank ");
  for (int i = 0; i < 10'000; ++i) report.AddLine(std::string(1'000, 'x'));
  report.AddLine("E 1");
  report.AddLine("");
  EXPECT_THAT(report.Cause({.exit_code = 1, .signal = 0}), HasSubstr("exit code 1"));
}

}  // namespace
}  // namespace trireme
