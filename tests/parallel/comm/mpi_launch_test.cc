#include <gmock/gmock.h>

#include "parallel/comm/mpi_comm.h"
#include "tests/support/status_matchers.h"

namespace trireme {
namespace {

using testing::HasSubstr;

TEST(IsOneOfManyRanks, AloneWithoutALauncher) {
  const auto many = IsOneOfManyRanks({});
  ASSERT_OK(many);
  EXPECT_FALSE(*many);
}

TEST(IsOneOfManyRanks, MpirunOfOneNeedsNoMpi) {
  const auto many = IsOneOfManyRanks({.ompi_comm_world_size = "1", .pmix_rank = "0"});
  ASSERT_OK(many);
  EXPECT_FALSE(*many);
}

TEST(IsOneOfManyRanks, MpirunOfTwoAndSrunWithPmixAreMany) {
  const auto mpirun = IsOneOfManyRanks({.ompi_comm_world_size = "2", .pmix_rank = "0"});
  ASSERT_OK(mpirun);
  EXPECT_TRUE(*mpirun);
  const auto srun = IsOneOfManyRanks({.pmix_rank = "1", .slurm_step_num_tasks = "2"});
  ASSERT_OK(srun);
  EXPECT_TRUE(*srun);
}

TEST(IsOneOfManyRanks, RefusesSrunWithoutPmix) {
  EXPECT_THAT(IsOneOfManyRanks({.slurm_step_num_tasks = "4"}),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("srun --mpi=pmix")));
}

TEST(IsOneOfManyRanks, OneTaskOfSrunIsAlone) {
  const auto many = IsOneOfManyRanks({.slurm_step_num_tasks = "1"});
  ASSERT_OK(many);
  EXPECT_FALSE(*many);
}

TEST(IsOneOfManyRanks, RefusesASizeThatIsNoNumber) {
  for (const char* size : {"x", "0", "-2", "9999999999"}) {
    EXPECT_THAT(IsOneOfManyRanks({.ompi_comm_world_size = size}),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("OMPI_COMM_WORLD_SIZE")));
  }
}

}  // namespace
}  // namespace trireme
