<?php

use dokuwiki\Extension\AuthPlugin;

/**
 * People are who the web server says they are: REMOTE_USER, and the headers
 * Remote-Name, Remote-Email and Remote-Groups of caddylti. No password is asked for.
 */
class auth_plugin_authlti extends AuthPlugin
{
    public function __construct()
    {
        parent::__construct();
        $this->cando['external'] = true;
        $this->cando['logout'] = false; // people come and go by way of their course
    }

    /** Called for every request; what the login form and its cookie say does not count. */
    public function trustExternal($user, $pass, $sticky = false)
    {
        global $USERINFO, $conf, $INPUT;

        if ($INPUT->server->str('REMOTE_USER') === '') {
            return false;
        }
        $groups = array_filter(explode(',', $INPUT->server->str('HTTP_REMOTE_GROUPS')));
        $USERINFO = [
            // A platform may keep the name to itself.
            'name' => $this->header('HTTP_REMOTE_NAME') ?: $INPUT->server->str('REMOTE_USER'),
            'mail' => $this->header('HTTP_REMOTE_EMAIL'),
            'grps' => array_merge([$conf['defaultgroup']], array_map('rawurldecode', $groups)),
        ];
        return true;
    }

    /** Only the person who asks is known, for nobody else is stored. */
    public function getUserData($user, $requireGroups = true)
    {
        global $USERINFO, $INPUT;

        return $user !== '' && $user === $INPUT->server->str('REMOTE_USER') ? $USERINFO : false;
    }

    /** Headers are ASCII; everything else, and the percent sign, is written %XX. */
    private function header($name)
    {
        global $INPUT;

        return rawurldecode($INPUT->server->str($name));
    }
}
