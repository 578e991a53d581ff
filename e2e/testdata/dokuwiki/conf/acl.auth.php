# acl.auth.php
# <?php exit()?>
* @ALL 0
* @user 1
* @Learner 8
